type Metadata = Map<string | symbol, unknown>;

/**
 * @peculiar/x509, loaded when first needed (0.15 s). Its container (tsyringe) wants three functions of the old decorator-metadata
 * proposal on `Reflect`; these are all that it calls.
 */
export async function loadX509(): Promise<typeof import('@peculiar/x509')> {
  polyfillReflect();
  const x509 = await import('@peculiar/x509');
  x509.cryptoProvider.set(globalThis.crypto);
  return x509;
}

function polyfillReflect(): void {
  if ('getMetadata' in Reflect) return;
  const kept = new WeakMap<object, Metadata>();
  const own = (key: string | symbol, target: object): unknown => kept.get(target)?.get(key);
  const inherited = (key: string | symbol, target: object | null): unknown =>
    target === null ? undefined : (own(key, target) ?? inherited(key, Object.getPrototypeOf(target)));
  Object.assign(Reflect, {
    getOwnMetadata: own,
    getMetadata: inherited,
    defineMetadata: (key: string | symbol, value: unknown, target: object) => {
      const metadata: Metadata = kept.get(target) ?? new Map();
      kept.set(target, metadata.set(key, value));
    },
  });
}
