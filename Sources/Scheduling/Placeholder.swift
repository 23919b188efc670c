// Placeholder so that the package resolves; the room's files replace it.
