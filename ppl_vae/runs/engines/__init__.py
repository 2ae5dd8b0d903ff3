"""Where cells and blocks are computed: in this process, in others, or on a cluster; one thin adapter an engine."""
