def why_refused(config): return ""
