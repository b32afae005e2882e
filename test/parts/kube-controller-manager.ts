import { get } from 'node:https';
import { type GoCommand, goBinary, goCommandMissing, provideGoCommand } from './harness/go.ts';
import type { Part } from './harness/part.ts';
import { kubeApiserver, kubernetesCommand } from './kube-apiserver.ts';

const COMMAND: GoCommand = kubernetesCommand('kube-controller-manager', 500);

/** Shorter than Kubernetes' own, so that tests need not wait a minute for a node that is gone. */
const NODE_GRACE = '8s';
const NODE_LOOK = '1s';

/** What makes pods of Jobs, ends what is owned by what is gone, and evicts from nodes that say nothing. Its facts are those of the API server. */
export const kubeControllerManager: Part<null> = {
  name: COMMAND.name,
  needs: [kubeApiserver],
  missing: () => goCommandMissing(COMMAND),
  provide: (say) => provideGoCommand(COMMAND, say),
  start: async (place) => {
    const { kubeconfig, caFile, serviceAccountKeyFile } = place.factsOf(kubeApiserver);
    const port = await place.freePort();
    const args = {
      kubeconfig,
      'authentication-kubeconfig': kubeconfig,
      'authorization-kubeconfig': kubeconfig,
      'root-ca-file': caFile,
      'service-account-private-key-file': serviceAccountKeyFile,
      'bind-address': '127.0.0.1',
      'secure-port': port,
      'cert-dir': place.dir,
      'leader-elect': false,
      'node-monitor-grace-period': NODE_GRACE,
      'node-monitor-period': NODE_LOOK,
      // No clouds, no certificates of kubelets, no volumes.
      controllers:
        '*,-cloud-node-lifecycle-controller,-service-lb-controller,-node-route-controller,-node-ipam-controller',
      // Tests make and end hundreds of things at once.
      'kube-api-qps': 200,
      'kube-api-burst': 400,
    };
    const flags = Object.entries(args).map(([name, value]) => `--${name}=${value}`);
    await place.run(goBinary(COMMAND), flags, { ready: () => isHealthy(port) });
    return null;
  },
};

/** `/healthz` of one of Kubernetes' own processes on loopback, whose certificate it made itself. */
export function isHealthy(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const asked = get(
      { host: '127.0.0.1', port, path: '/healthz', rejectUnauthorized: false, agent: false },
      (reply) => {
        reply.resume();
        resolve(reply.statusCode === 200);
      },
    );
    asked.on('error', () => resolve(false));
  });
}
