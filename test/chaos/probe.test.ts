import { afterAll, beforeAll, expect, test } from 'vitest';
import { type CrashWorld, crashWorld } from '../support/crash-world.ts';
let world: CrashWorld;
beforeAll(async () => { const t=performance.now(); world = await crashWorld(); console.log('world', performance.now()-t); });
afterAll(async () => { await world?.close(); });
test('probe', async () => {
  for (let i=0;i<3;i++) {
    let t=performance.now();
    const id = await world.submit();
    await world.until(id, b=>b.state.state==='applied'); console.log('applied', performance.now()-t);
    const e = await world.ended(id); console.log('ended', performance.now()-t, e.state.state, JSON.stringify(e.state));
    t=performance.now();
    await world.kill(); console.log('kill', performance.now()-t); t=performance.now();
    await world.start(); console.log('start', performance.now()-t);
  }
});
