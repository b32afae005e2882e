// Preloaded into what the launcher starts: when the launcher is gone, however it ended, its channel closes, and this process is asked to
// end as by SIGTERM (or MERIT_END_SIGNAL). Only the launcher's own child does so; what it starts in turn has another parent.
const signal = process.env.MERIT_END_SIGNAL ?? 'SIGTERM';
const mine = process.env.MERIT_LAUNCHER_PID === String(process.ppid);
delete process.env.MERIT_END_SIGNAL;
delete process.env.MERIT_LAUNCHER_PID;
if (process.channel && mine) {
  process.channel.unref();
  process.once('disconnect', () => process.kill(process.pid, signal));
}
