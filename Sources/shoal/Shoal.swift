import ArgumentParser
@main struct Shoal: ParsableCommand {}
