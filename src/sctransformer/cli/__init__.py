"""The command line: one thin file per verb. Heavy imports stay inside the verbs, so that --help is quick."""
