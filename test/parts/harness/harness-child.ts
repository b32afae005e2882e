/** `harness-child.ts`: starts a part that would run for ten minutes, says `PID FOLDER`, and runs until it is killed. */
import { openHarness } from './harness.ts';
import type { Part } from './part.ts';

const part: Part<number> = {
  name: 'sleeper',
  needs: [],
  missing: () => undefined,
  start: (place) => place.run('sleep', ['600'], { ready: async () => true }),
};
const harness = await openHarness();
process.stdout.write(`${await harness.shared(part)} ${harness.dir}\n`);
setInterval(() => {}, 1000);
