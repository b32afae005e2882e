import { type GoCommand, goBinary, goCommandMissing, provideGoCommand } from './harness/go.ts';
import type { Part } from './harness/part.ts';
import { kubeApiserver, kubernetesCommand } from './kube-apiserver.ts';
import { isHealthy } from './kube-controller-manager.ts';

const COMMAND: GoCommand = kubernetesCommand('kube-scheduler', 450);

/** What gives pods their nodes, and takes nodes from those of less priority. */
export const kubeScheduler: Part<null> = {
  name: COMMAND.name,
  needs: [kubeApiserver],
  missing: () => goCommandMissing(COMMAND),
  provide: (say) => provideGoCommand(COMMAND, say),
  start: async (place) => {
    const { kubeconfig } = place.factsOf(kubeApiserver);
    const port = await place.freePort();
    const args = {
      kubeconfig,
      'authentication-kubeconfig': kubeconfig,
      'authorization-kubeconfig': kubeconfig,
      'bind-address': '127.0.0.1',
      'secure-port': port,
      'cert-dir': place.dir,
      'leader-elect': false,
    };
    const flags = Object.entries(args).map(([name, value]) => `--${name}=${value}`);
    await place.run(goBinary(COMMAND), flags, { ready: () => isHealthy(port) });
    return null;
  },
};
