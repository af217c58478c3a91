"""Floor 0: files, locks, processes, queues, hubs: what the machine and its neighbours give."""
