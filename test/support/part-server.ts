import { spawn } from 'node:child_process';
import { claimServer, recordPart, startKeeper } from '../../platform/processes.ts';

// A server with one part: says the process ids of part and keeper, and runs until it is killed.
const [stateDir = '', graceMs = ''] = process.argv.slice(2);
claimServer(stateDir);
const part = spawn('sleep', ['600'], { detached: true, stdio: 'ignore' });
recordPart(stateDir, { name: 'sleep', pid: part.pid ?? 0, group: true });
const keeper = startKeeper(stateDir, { graceMs: Number(graceMs) });
process.stdout.write(`${part.pid} ${keeper}\n`);
setInterval(() => {}, 1000);
