"""What a dataset says of groups of people, and how a lopsided picture is straightened."""
