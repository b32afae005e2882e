import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Agent, request } from 'undici';
import { type GoCommand, goBinary, goCommandMissing, goFolder, provideGoCommand } from './harness/go.ts';
import type { Part } from './harness/part.ts';
import { type KubeApiserverFacts, kubeApiserver } from './kube-apiserver.ts';

export interface KuberayOperatorFacts {
  /** Where the operator's calls to Rays go: `PUT /targets/NAMESPACE` with an address names where those to a namespace's services end. */
  readonly switchboard: string;
  /** To stop it for a while. */
  readonly pid: number;
}

const CRDS = 'config/crd/bases';
const COMMAND: GoCommand = {
  name: 'kuberay-operator',
  module: 'github.com/ray-project/kuberay/ray-operator',
  version: 'v1.5.1',
  main: 'github.com/ray-project/kuberay/ray-operator',
  go: '1.24',
  cpuSeconds: 184,
  folders: [CRDS],
};
const SWITCHBOARD = fileURLToPath(new URL('./harness/ray-switchboard.ts', import.meta.url));
const LOOK_EVERY_MS = 100;
const ESTABLISHED_LIMIT_MS = 60_000;

/**
 * KubeRay's operator on the run's API server, with its own CRDs, for all namespaces. No name of a service resolves here: what it asks of a Ray by plain HTTP
 * goes through a proxy, which tests tell where to. 2 s to start, 50 MB.
 */
export const kuberayOperator: Part<KuberayOperatorFacts> = {
  name: COMMAND.name,
  needs: [kubeApiserver],
  missing: () => goCommandMissing(COMMAND),
  provide: (say) => provideGoCommand(COMMAND, say),
  start: async (place) => {
    const facts = place.factsOf(kubeApiserver);
    await applyCrds(facts);
    const switchboard = `http://127.0.0.1:${await place.freePort()}`;
    await place.run(process.execPath, [SWITCHBOARD, new URL(switchboard).port], {
      ready: async () => (await fetch(`${switchboard}/targets`)).ok,
    });
    const probe = `127.0.0.1:${await place.freePort()}`;
    const flags = ['-metrics-addr=0', `-health-probe-bind-address=${probe}`, '-enable-leader-election=false'];
    const pid = await place.run(goBinary(COMMAND), [`-kubeconfig=${facts.kubeconfig}`, ...flags], {
      // Go asks loopback, and so the API server, without any proxy.
      env: { HTTP_PROXY: switchboard },
      ready: async () => (await fetch(`http://${probe}/readyz`)).ok,
    });
    return { switchboard, pid };
  },
};

/** By server-side apply: they are too large for what kubectl writes beside an object. */
async function applyCrds({ url, caFile, adminToken }: KubeApiserverFacts): Promise<void> {
  const dispatcher = new Agent({ connect: { ca: readFileSync(caFile) } });
  const headers = { authorization: `Bearer ${adminToken}`, 'content-type': 'application/apply-patch+yaml' };
  const base = `${url}/apis/apiextensions.k8s.io/v1/customresourcedefinitions`;
  const folder = goFolder(COMMAND, CRDS);
  try {
    for (const file of readdirSync(folder)) {
      // `ray.io_rayjobs.yaml` holds `rayjobs.ray.io`.
      const [group = '', plural = ''] = file.replace('.yaml', '').split('_');
      const at = `${base}/${plural}.${group}`;
      const body = readFileSync(join(folder, file));
      const made = await request(`${at}?fieldManager=tests&force=true`, { method: 'PATCH', headers, body, dispatcher });
      if (made.statusCode >= 300) throw new Error(`${file} is not taken: ${await made.body.text()}`);
      await made.body.dump();
      const deadline = performance.now() + ESTABLISHED_LIMIT_MS;
      while (!(await isEstablished(at, headers, dispatcher))) {
        if (performance.now() > deadline) throw new Error(`Kubernetes does not serve what ${file} defines`);
        await sleep(LOOK_EVERY_MS);
      }
    }
  } finally {
    await dispatcher.close();
  }
}

async function isEstablished(
  url: string,
  { authorization }: { readonly authorization: string },
  dispatcher: Agent,
): Promise<boolean> {
  const { body } = await request(url, { headers: { authorization }, dispatcher });
  const { status } = (await body.json()) as {
    readonly status?: { readonly conditions?: readonly { readonly type: string; readonly status: string }[] };
  };
  return status?.conditions?.some((one) => one.type === 'Established' && one.status === 'True') ?? false;
}
