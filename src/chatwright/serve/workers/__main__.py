"""`python -m chatwright.serve.workers`: a process of the supervisor's; not for people."""

from chatwright.serve.workers.children import main

main()
