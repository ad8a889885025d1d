"""From files, folders and data sets to rows that know where they stand."""
