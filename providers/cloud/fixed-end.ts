import { ProviderError } from '../provider.ts';

/** For services that let no running job run longer. Throws ProviderError `invalid` for a lease past the seconds that its submit gave it. */
export function checkFixedEnd(service: string, key: string, leaseMs: number, seconds: number): void {
  if (leaseMs <= seconds * 1000) return;
  const text = `${service} ends ${key} after ${seconds} s, and that cannot be changed: extensionSeconds in the pool leaves later jobs room for longer leases`;
  throw new ProviderError('invalid', text);
}
