import { startEmbeddedPostgres } from '../../platform/embedded-postgres/start.ts';
import { layoutIn } from './postgres.ts';

// A server that is killed: starts a Postgres in the folder given, says its process id, and dies without a word.
const [folder = ''] = process.argv.slice(2);
const postgres = await startEmbeddedPostgres({ ...(await layoutIn(folder)), log: () => {} });
process.stdout.write(`${postgres.pid}\n`, () => process.kill(process.pid, 'SIGKILL'));
