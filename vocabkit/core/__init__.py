"""What every stage stands on: errors, languages, scripts, rendering, configuration, provenance."""
