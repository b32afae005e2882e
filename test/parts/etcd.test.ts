import { describe, expect, test } from 'vitest';
import { etcd } from './etcd.ts';
import { ownPart, partMissing, sharedPart } from './harness/use.ts';

const missing = partMissing(etcd);

describe.skipIf(missing !== undefined)(`a part${missing === undefined ? '' : ` (${missing})`}`, () => {
  test('is started once and shared, and answers', async () => {
    const [one, another] = await Promise.all([sharedPart(etcd), sharedPart(etcd)]);
    expect(another).toEqual(one);
    expect(await (await fetch(`${one.url}/health`)).json()).toMatchObject({ health: 'true' });
  });

  test('that a test wants for itself is another one, and ends when it says so', async () => {
    const own = await ownPart(etcd);
    expect(own.facts.url).not.toBe((await sharedPart(etcd)).url);
    expect((await fetch(`${own.facts.url}/health`)).ok).toBe(true);
    await own.stop();
    await expect(fetch(`${own.facts.url}/health`)).rejects.toThrow();
  });
});
