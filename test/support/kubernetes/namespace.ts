import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { AdminApi, type ApiFacts } from './kubelet-api.ts';

const LOOK_MS = 50;
const TOKEN_SECONDS = 3_600;

/** The rights that docs/kubernetes.md names, and no other. */
const IN_NAMESPACE = [
  { apiGroups: ['batch'], resources: ['jobs'], verbs: ['get', 'list', 'watch', 'create', 'patch', 'delete'] },
  { apiGroups: ['batch'], resources: ['jobs/finalizers'], verbs: ['update'] },
  { apiGroups: [''], resources: ['pods'], verbs: ['get', 'list', 'watch', 'create', 'patch', 'delete'] },
  { apiGroups: [''], resources: ['pods/log'], verbs: ['get'] },
  { apiGroups: [''], resources: ['secrets', 'services'], verbs: ['get', 'create'] },
  { apiGroups: [''], resources: ['events', 'resourcequotas'], verbs: ['list'] },
];
const IN_CLUSTER = [{ apiGroups: [''], resources: ['nodes', 'pods'], verbs: ['list'] }];

/** A namespace of its own in the run's cluster, with a service account that may do what Merit has to. */
export class TestNamespace {
  readonly name = `merit-${randomBytes(4).toString('hex')}`;
  readonly admin: AdminApi;

  private constructor(facts: ApiFacts) {
    this.admin = new AdminApi(facts);
  }

  static async make(facts: ApiFacts): Promise<TestNamespace> {
    const made = new TestNamespace(facts);
    await made.#begin();
    return made;
  }

  /** Of the namespace's objects: `jobs` in `/apis/batch/v1`, everything else in `/api/v1`. */
  path(resource: string, name = ''): string {
    const group = resource === 'jobs' ? '/apis/batch/v1' : '/api/v1';
    return `${group}/namespaces/${this.name}/${resource}${name === '' ? '' : `/${name}`}`;
  }

  async items<T = { readonly metadata: { readonly name: string } }>(
    resource: string,
    query = '',
  ): Promise<readonly T[]> {
    const { items } = await this.admin.call<{ readonly items: readonly T[] }>('GET', `${this.path(resource)}${query}`);
    return items;
  }

  /** A token of Merit's service account. */
  async token(): Promise<string> {
    const body = {
      apiVersion: 'authentication.k8s.io/v1',
      kind: 'TokenRequest',
      spec: { expirationSeconds: TOKEN_SECONDS },
    };
    const path = this.path('serviceaccounts', 'merit/token');
    const made = await this.admin.call<{ readonly status: { readonly token: string } }>('POST', path, body);
    return made.status.token;
  }

  /** Says a ResourceQuota, and returns once it is counted by. */
  async limit(name: string, hard: Readonly<Record<string, string>>): Promise<void> {
    const body = { apiVersion: 'v1', kind: 'ResourceQuota', metadata: { name }, spec: { hard } };
    await this.admin.call('POST', this.path('resourcequotas'), body);
    type Quota = { readonly status?: { readonly hard?: object } };
    while ((await this.admin.find<Quota>(this.path('resourcequotas', name)))?.status?.hard === undefined)
      await sleep(LOOK_MS);
  }

  async end(): Promise<void> {
    await this.admin.call('DELETE', `/api/v1/namespaces/${this.name}`).catch(() => {});
    for (const kind of ['clusterroles', 'clusterrolebindings'])
      await this.admin.call('DELETE', `/apis/rbac.authorization.k8s.io/v1/${kind}/${this.name}`).catch(() => {});
    await this.admin.close();
  }

  async #begin(): Promise<void> {
    const { admin, name } = this;
    await admin.call('POST', '/api/v1/namespaces', { apiVersion: 'v1', kind: 'Namespace', metadata: { name } });
    await admin.call('POST', this.path('serviceaccounts'), {
      apiVersion: 'v1',
      kind: 'ServiceAccount',
      metadata: { name: 'merit' },
    });
    const rbac = '/apis/rbac.authorization.k8s.io/v1';
    const subjects = [{ kind: 'ServiceAccount', name: 'merit', namespace: name }];
    const roleRef = (kind: string) => ({ apiGroup: 'rbac.authorization.k8s.io', kind, name });
    const inside = `${rbac}/namespaces/${name}`;
    await admin.call('POST', `${inside}/roles`, { metadata: { name }, rules: IN_NAMESPACE });
    await admin.call('POST', `${inside}/rolebindings`, { metadata: { name }, subjects, roleRef: roleRef('Role') });
    await admin.call('POST', `${rbac}/clusterroles`, { metadata: { name }, rules: IN_CLUSTER });
    await admin.call('POST', `${rbac}/clusterrolebindings`, {
      metadata: { name },
      subjects,
      roleRef: roleRef('ClusterRole'),
    });
    // Without its default account, which the controller manager makes, a namespace takes no pod.
    while ((await admin.find(this.path('serviceaccounts', 'default'))) === undefined) await sleep(LOOK_MS);
  }
}
