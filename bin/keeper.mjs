// Ends the parts of a server that was killed: node keeper.mjs STATE_DIR SERVER_PID SERVER_START GRACE_MS
// Started detached by platform/processes.ts; holds no connection to the server but its process id and start time.
import { keepParts } from '../platform/processes.ts';

const [stateDir = '', pid = '', startTime = '', graceMs = ''] = process.argv.slice(2);
process.title = 'merit-keeper';
for (const signal of ['SIGINT', 'SIGHUP']) process.on(signal, () => {});
await keepParts(stateDir, { pid: Number(pid), startTime }, Number(graceMs));
