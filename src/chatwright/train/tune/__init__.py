"""Search for good training settings: many short trainings, of which the bad ones are cut short."""
