/// The version of this build: what `shoal version` prints and agents tell each other.
package enum ShoalVersion {
    /// The version's text.
    package static let text = "0.1.0"
}
