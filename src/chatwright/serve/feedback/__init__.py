"""What people say of answers, and how it becomes data to train on."""
