"""Great Expectations: suites as files (`data/suites/`), the tables they check, and how they are run."""
