"""Planning: the plan is frozen, and what it asks for is tried in small before anything is built."""
