import { startTestRay } from './ray.ts';

/** `node test/support/ray-process.ts`: a test Ray until stdin ends; its one line of stdout says where it is. */
const ray = await startTestRay();
process.stdout.write(`${JSON.stringify({ address: ray.address, tokenFile: ray.tokenFile })}\n`);
// Ctrl-C reaches the whole group of a terminal: the run ends first, and this with it.
process.on('SIGINT', () => {});
process.stdin.resume();
await new Promise((resolve) => process.stdin.once('close', resolve));
await ray.stop();
