/**
 * Hands items on, those of one key one after the other, of different keys side by side. Behind one that fails nothing of its key is tried (of any
 * key, where `stop` says so): handed on again later, nothing overtakes it. `done` says of each item whether it went; `error` is the first failure.
 */
export async function inOrder<Item>(
  items: readonly Item[],
  keyOf: (item: Item) => string,
  handOn: (item: Item) => Promise<void>,
  stop: 'key' | 'all' = 'key',
): Promise<{ readonly done: readonly boolean[]; readonly error: unknown }> {
  let error: unknown;
  const tails = new Map<string, Promise<boolean>>();
  const going = items.map((item) => {
    const key = keyOf(item);
    const mine = (tails.get(key) ?? Promise.resolve(true)).then(async (free) => {
      if (!free || (stop === 'all' && error !== undefined)) return false;
      try {
        await handOn(item);
        return true;
      } catch (cause) {
        error ??= cause ?? new Error('failed');
        return false;
      }
    });
    tails.set(key, mine);
    return mine;
  });
  return { done: await Promise.all(going), error };
}
