import { checkName as checkKubernetesName, isName as isKubernetesName } from '../kubernetes/ownership.ts';

export const PROVIDER_KIND = 'kuberay';

/** KubeRay takes names of 47, adds six characters for the cluster, and cuts what it names after that to 50: of 44 nothing is cut. */
const KUBERAY_SUFFIX = 63 - 44;

/** The attempt's key is the RayJob's name. Throws ProviderError `invalid` where KubeRay would not take it. */
export function checkName(key: string): void {
  checkKubernetesName(key, KUBERAY_SUFFIX);
}

/** False: no RayJob that Merit made can have it. */
export function isName(key: string): boolean {
  return isKubernetesName(key) && key.length + KUBERAY_SUFFIX <= 63;
}
