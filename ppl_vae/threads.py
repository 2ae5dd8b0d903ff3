"""How worker threads wait, which must be settled before torch is imported: import this first."""

import os

# GNU OpenMP's threads spin for milliseconds at the end of every parallel region. Beside a busy neighbour that made
# a step ten times slower; spinning for some tens of microseconds costs nothing measurable on an idle machine.
os.environ.setdefault("GOMP_SPINCOUNT", "2000")
