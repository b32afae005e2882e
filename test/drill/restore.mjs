// `npm run drill:restore [-- --seconds 20 --rate 200]`: loses a database, and restores it from the object store. See restore.ts, which this
// runs under Node 24.
import { endAs, orExplain, ROOT, runNode } from '../../bin/launch.mjs';

await orExplain(async () => endAs(await runNode([`${ROOT}/test/drill/restore.ts`, ...process.argv.slice(2)])));
