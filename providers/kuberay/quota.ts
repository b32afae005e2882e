import type { ResourceQuota } from '../kubernetes/capacity.ts';
import type { Cluster } from '../kubernetes/cluster.ts';
import type { Amounts } from '../kubernetes/pod.ts';
import { milliOf } from '../kubernetes/quantity.ts';
import { type AttemptSpec, ProviderError } from '../provider.ts';
import type { Flavour } from './config.ts';
import { podResources } from './manifest.ts';

/** Kubernetes writes down what is used a moment after a quota was made. */
type Quota = ResourceQuota & { readonly spec?: { readonly hard?: Amounts } };

/**
 * A quota of the namespace that the attempt's pods would exceed. Kubernetes itself takes the RayJob and refuses its pods one after the other: half of a
 * gang would then hold what it cannot use, and a full namespace would look like a slow one. Between this look and the pods others may
 * be faster; then the RayJob waits, and says for what. Throws ProviderError `quota_exceeded`.
 */
export async function checkQuota(
  cluster: Cluster,
  namespace: string,
  spec: AttemptSpec,
  flavour: Flavour,
  signal: AbortSignal,
): Promise<void> {
  const doing = 'reading the quotas of the namespace';
  const { items } = await cluster.list<Quota>(`/api/v1/namespaces/${namespace}/resourcequotas`, {}, doing, signal);
  const asked = askedOf(spec, flavour);
  // One with scopes counts some pods only, and which is for Kubernetes to say.
  for (const { metadata, spec: quota, status } of items) {
    if ((quota?.scopes ?? []).length > 0 || quota?.scopeSelector !== undefined) continue;
    for (const [name, hard] of Object.entries(status?.hard ?? quota?.hard ?? {})) {
      const wanted = asked[name];
      if (wanted === undefined) continue;
      const usedMilli = milliOf(status?.used?.[name]);
      if (usedMilli + wanted <= milliOf(hard)) continue;
      const text = `the ResourceQuota ${metadata.name} of ${namespace} leaves too little ${name}: ${status?.used?.[name] ?? 0} of ${hard} are used, and the job asks for ${shown(wanted)}`;
      throw new ProviderError('quota_exceeded', text);
    }
  }
}

/** What all its pods ask for, in thousandths, by the names that quotas have. */
function askedOf(spec: AttemptSpec, flavour: Flavour): Readonly<Record<string, bigint>> {
  const nodes = BigInt(spec.nodes ?? 1);
  const asked: Record<string, bigint> = { pods: nodes * 1000n, 'count/pods': nodes * 1000n };
  for (const [name, amount] of Object.entries(podResources(spec, flavour))) {
    const all = milliOf(amount) * nodes;
    asked[`requests.${name}`] = all;
    asked[`limits.${name}`] = all;
    if (name === 'cpu' || name === 'memory') asked[name] = all;
  }
  return asked;
}

function shown(milli: bigint): string {
  return milli % 1000n === 0n ? String(milli / 1000n) : `${milli}m`;
}
