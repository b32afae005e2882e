import { expect, test } from 'vitest';
import { OperatingError } from '../../../../core/operating-error.ts';
import { KubernetesRefusal } from '../../../../platform/kubernetes/refusal.ts';
import { providerErrorOf } from '../../../../providers/kubernetes/errors.ts';

const refusal = (code: number, reason: string, message: string, details: object = {}) =>
  new KubernetesRefusal(
    code,
    JSON.stringify({ kind: 'Status', status: 'Failure', code, reason, message, details }),
    undefined,
  );

/** As Kubernetes 1.33 says it. */
const QUOTA =
  'jobs.batch "m-b-1" is forbidden: exceeded quota: team, requested: count/jobs.batch=1, used: count/jobs.batch=3, limited: count/jobs.batch=3';
const RIGHT =
  'jobs.batch is forbidden: User "system:serviceaccount:merit:merit" cannot create resource "jobs" in API group "batch" in the namespace "training"';
const SECURITY = 'pods "x" is forbidden: violates PodSecurity "restricted:latest": runAsNonRoot != true';
const SILENT_QUOTA = 'pods "x" is forbidden: failed quota: team: must specify limits.memory for: job';
const WEBHOOK = 'Internal error occurred: failed calling webhook "v.kueue.x-k8s.io": no endpoints available';
const DENIED = 'admission webhook "policy.example" denied the request: images come from registry.example';

test.each([
  [401, 'Unauthorized', 'Unauthorized', 'auth', 'none', 'no longer takes this token'],
  [403, 'Forbidden', QUOTA, 'quota_exceeded', 'none', 'raise the ResourceQuota team'],
  [403, 'Forbidden', RIGHT, 'auth', 'none', 'let system:serviceaccount:merit:merit create jobs (batch)'],
  [403, 'Forbidden', SECURITY, 'invalid', 'none', 'allows no such pod'],
  [403, 'Forbidden', SILENT_QUOTA, 'invalid', 'none', 'LimitRange'],
  [403, 'Forbidden', DENIED, 'invalid', 'none', 'images come from registry.example'],
  [403, 'Forbidden', 'no PriorityClass with name x was found', 'invalid', 'none', 'no PriorityClass'],
  [404, 'NotFound', 'namespaces "training" not found', 'invalid', 'none', 'kubectl create namespace training'],
  [404, '', '404 page not found', 'invalid', 'none', 'does not have this API'],
  [404, 'NotFound', 'jobs.batch "x" not found', 'not_found', 'none', 'not found'],
  [409, 'AlreadyExists', 'jobs.batch "x" already exists', 'invalid', 'none', 'already exists'],
  [409, 'Conflict', 'Operation cannot be fulfilled on jobs.batch "x": modified', 'transient', 'none', 'modified'],
  [409, 'Conflict', 'Operation cannot be fulfilled on resourcequotas "team"', 'transient', 'none', 'team'],
  [409, 'Conflict', 'Apply failed with 1 conflict: conflict with "x"', 'invalid', 'none', 'another field manager'],
  [410, 'Expired', 'The provided continue parameter is too old', 'transient', 'none', 'too old'],
  [422, 'Invalid', 'Job.batch "x" is invalid', 'invalid', 'none', 'is invalid'],
  [429, 'TooManyRequests', 'Too many requests', 'transient', 'none', 'Too many'],
  [500, 'InternalError', WEBHOOK, 'transient', 'none', 'webhook of the cluster does not answer'],
  [500, 'InternalError', 'etcdserver: request timed out', 'transient', 'unknown', 'etcdserver'],
  [503, 'ServiceUnavailable', 'starting', 'transient', 'unknown', 'starting'],
  [504, 'Timeout', 'request did not complete', 'transient', 'unknown', 'did not complete'],
] as const)(
  '%i %s (%s) of a call that changes something is told as it is',
  (status, reason, said, code, effect, words) => {
    const error = providerErrorOf(refusal(status, reason, said), 'creating it', true);
    expect(error).toMatchObject({ code, effect, message: expect.stringContaining(words) });
    expect(error.message).toContain('creating it');
    // A call that only asked changed nothing, whatever became of it.
    expect(providerErrorOf(refusal(status, reason, said), 'asking', false).effect).toBe('none');
  },
);

const coded = (code: string) => Object.assign(new Error(code), { code });

test.each([
  ['a refused connection', coded('ECONNREFUSED'), 'transient', 'none'],
  ['a name that is none', new TypeError('failed', { cause: coded('ENOTFOUND') }), 'transient', 'none'],
  ['a cut connection', coded('UND_ERR_SOCKET'), 'transient', 'unknown'],
  ['a time-out', new DOMException('timeout', 'TimeoutError'), 'transient', 'unknown'],
  ['a reply that is none', new SyntaxError('Unexpected end of JSON input'), 'transient', 'unknown'],
  ['a certificate that is another’s', coded('ERR_TLS_CERT_ALTNAME_INVALID'), 'auth', 'none'],
  ['a kubeconfig that is none', new OperatingError('auth', 'never', 'reading', { mend: 'name one' }), 'auth', 'none'],
])('%s is told as it is', (_what, error, code, effect) => {
  expect(providerErrorOf(error, 'creating it', true)).toMatchObject({ code, effect });
});

test('an object that is wrong is told by its fields, and how long to leave the server alone is handed on', () => {
  const causes = [{ field: 'spec.template.spec.containers[0].image', message: 'Required value' }];
  const wrong = providerErrorOf(refusal(422, 'Invalid', 'Job is invalid', { causes }), 'creating it', true);
  expect(wrong.message).toContain('spec.template.spec.containers[0].image: Required value');
  expect(providerErrorOf(new KubernetesRefusal(429, 'later', 7_000), 'asking', false).retryAfterMs).toBe(7_000);
  const busy = refusal(503, 'ServiceUnavailable', 'busy', { retryAfterSeconds: 2 });
  expect(providerErrorOf(busy, 'asking', false).retryAfterMs).toBe(2_000);
});
