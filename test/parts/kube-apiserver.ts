import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Agent } from 'undici';
import { etcd } from './etcd.ts';
import { type GoCommand, goBinary, goCommandMissing, provideGoCommand } from './harness/go.ts';
import type { Part } from './harness/part.ts';

export interface KubeApiserverFacts {
  /** `https://127.0.0.1:PORT` */
  readonly url: string;
  /** What its certificate is verified with. */
  readonly caFile: string;
  /** Of a member of system:masters, who may do everything. */
  readonly adminToken: string;
  /** The three above as a kubeconfig, also for `kubectl --kubeconfig`. */
  readonly kubeconfig: string;
  /** What it takes tokens of service accounts by: the controller manager signs with it. */
  readonly serviceAccountKeyFile: string;
}

const VERSION = '1.33.13';
/** Modules that Kubernetes publishes out of its own tree: its go.mod gives them a placeholder, v0.0.0. */
const STAGING =
  'api apiextensions-apiserver apimachinery apiserver cli-runtime client-go cloud-provider cluster-bootstrap code-generator component-base component-helpers controller-manager cri-api cri-client csi-translation-lib dynamic-resource-allocation endpointslice externaljwt kms kube-aggregator kube-controller-manager kube-proxy kube-scheduler kubectl kubelet metrics mount-utils pod-security-admission sample-apiserver';

/** A command of Kubernetes, by its folder in `cmd/`. */
export function kubernetesCommand(name: string, cpuSeconds: number): GoCommand {
  return {
    name,
    module: 'k8s.io/kubernetes',
    version: `v${VERSION}`,
    main: `k8s.io/kubernetes/cmd/${name}`,
    go: '1.24',
    cpuSeconds,
    replace: { modules: STAGING.split(' ').map((module) => `k8s.io/${module}`), version: `v0.${VERSION.slice(2)}` },
    ldflags: `-X k8s.io/component-base/version.gitVersion=v${VERSION}`,
  };
}

const COMMAND = kubernetesCommand('kube-apiserver', 700);

/** Kubernetes' API with RBAC, and nothing behind it: no controllers, no nodes. 3 s to start, 260–580 MB. */
export const kubeApiserver: Part<KubeApiserverFacts> = {
  name: COMMAND.name,
  needs: [etcd],
  missing: () => goCommandMissing(COMMAND),
  provide: (say) => provideGoCommand(COMMAND, say),
  start: async (place) => {
    const port = await place.freePort();
    const url = `https://127.0.0.1:${port}`;
    const inDir = (name: string, content: string) => {
      const path = join(place.dir, name);
      writeFileSync(path, content, { mode: 0o600 });
      return path;
    };
    const adminToken = randomBytes(24).toString('hex');
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const accountKey = inDir('service-accounts.pem', privateKey.export({ type: 'sec1', format: 'pem' }) as string);
    const certificates = join(place.dir, 'certificates');
    const args = {
      'etcd-servers': place.factsOf(etcd).url,
      'etcd-prefix': `/registry/${port}`,
      'bind-address': '127.0.0.1',
      'secure-port': port,
      'external-hostname': '127.0.0.1',
      // It makes itself a certificate for this address.
      'cert-dir': certificates,
      'authorization-mode': 'RBAC',
      'token-auth-file': inDir('tokens.csv', `${adminToken},admin,admin,system:masters\n`),
      'service-account-issuer': url,
      'service-account-key-file': accountKey,
      'service-account-signing-key-file': accountKey,
      'service-cluster-ip-range': '10.96.0.0/16',
      // Loopback cannot be told to pods as an endpoint.
      'endpoint-reconciler-type': 'none',
    };
    const flags = Object.entries(args).map(([name, value]) => `--${name}=${value}`);
    // Only to see that it is there: from then on its certificate is known.
    const anybody = new Agent({ connect: { rejectUnauthorized: false } });
    const ready = async () => {
      const { statusCode, body } = await anybody.request({ origin: url, path: '/readyz', method: 'GET' });
      await body.dump();
      return statusCode === 200;
    };
    await place.run(goBinary(COMMAND), flags, { ready });
    await anybody.close();
    const caFile = join(certificates, 'apiserver.crt');
    return {
      url,
      caFile,
      adminToken,
      kubeconfig: inDir('kubeconfig.yaml', kubeconfig(url, caFile, adminToken)),
      serviceAccountKeyFile: accountKey,
    };
  },
};

/** A kubeconfig of one user; JSON is YAML. */
export function kubeconfig(server: string, caFile: string, token: string, namespace = 'default'): string {
  const ca = readFileSync(caFile).toString('base64');
  return JSON.stringify({
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name: 'test', cluster: { server, 'certificate-authority-data': ca } }],
    users: [{ name: 'test', user: { token } }],
    contexts: [{ name: 'test', context: { cluster: 'test', user: 'test', namespace } }],
    'current-context': 'test',
  });
}
