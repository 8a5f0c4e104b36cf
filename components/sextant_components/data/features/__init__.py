"""Features: joined as of each row's time, loaded into the online store, and the same in both."""
