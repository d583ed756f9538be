"""A checkpoint given another vocabulary: rows kept, moved, made and written, and all of it undone."""
