"""What the machine and its neighbours give: files, locks, processes, the SLURM queue, the hub, torchaudio."""
