"""Which rows are trained, validated and tested."""
