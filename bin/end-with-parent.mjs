// Preloaded into what the launcher starts: when the launcher is gone, however it ended, its channel closes, and this process is asked to
// end as by SIGTERM. Only the launcher's own child does so; what it starts in turn inherits the preload but not the parent.
if (process.channel && process.env.MERIT_LAUNCHER_PID === String(process.ppid)) {
  process.channel.unref();
  process.once('disconnect', () => process.kill(process.pid, 'SIGTERM'));
}
