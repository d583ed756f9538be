"""Fitting: from span tables and weights to pieces and scores. Knows no file formats and no command line."""
