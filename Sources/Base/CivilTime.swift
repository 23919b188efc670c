extension WallTime {
    /// The time as RFC 3339 in UTC with milliseconds, such as `2024-05-01T12:00:00.250Z`.
    ///
    /// Times outside the years 1 to 9999 are shown as the nearest one inside.
    ///
    /// Days to civil date: H. Hinnant, "chrono-compatible low-level date algorithms" (2013).
    package var rfc3339: String {
        let day: Int64 = 86_400_000
        let milliseconds = min(max(milliseconds, -62_135_596_800_000), 253_402_300_799_999)
        let days = (milliseconds >= 0 ? milliseconds : milliseconds - (day - 1)) / day
        let rest = milliseconds - days * day
        let shifted = days + 719_468
        let era = (shifted >= 0 ? shifted : shifted - 146_096) / 146_097
        let dayOfEra = shifted - era * 146_097
        let yearOfEra =
            (dayOfEra - dayOfEra / 1_460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let shiftedMonth = (5 * dayOfYear + 2) / 153
        let dayOfMonth = dayOfYear - (153 * shiftedMonth + 2) / 5 + 1
        let month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
        let year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
        let seconds = rest / 1_000
        return padded(year, 4) + "-" + padded(month, 2) + "-" + padded(dayOfMonth, 2) + "T"
            + padded(seconds / 3_600, 2) + ":" + padded(seconds / 60 % 60, 2) + ":"
            + padded(seconds % 60, 2) + "." + padded(rest % 1_000, 3) + "Z"
    }
}

/// A number with leading zeros up to a width.
private func padded(_ number: Int64, _ width: Int) -> String {
    let digits = String(number)
    return String(repeating: "0", count: max(0, width - digits.count)) + digits
}
