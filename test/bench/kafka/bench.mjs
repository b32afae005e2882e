// `npm run bench:kafka`: both clients of the event log on one real Kafka, in turns: CPU a thousand reports, idle, and how soon each is back after
// the broker was killed. Needs the part: `npm run test:parts` fetches it.
import { endAs, orExplain, ROOT, runNode } from '../../../bin/launch.mjs';

await orExplain(async () => endAs(await runNode([`${ROOT}/test/bench/kafka/clients.ts`, ...process.argv.slice(2)])));
