import { OperatingError } from '../core/operating-error.ts';

/** What a call to Kubernetes that failed means to who made it. */
export type KubernetesFault =
  /** Not reached, overloaded or starting: waiting mends it. The call may have had its effect. */
  | { readonly kind: 'away' }
  /** Somebody else changed it, or made it, first. */
  | { readonly kind: 'conflict' }
  | { readonly kind: 'absent' }
  /** Waiting does not mend it. */
  | { readonly kind: 'refused'; readonly error: OperatingError };

/** Of the system, of undici, and of its time-outs (AbortSignal.timeout: TimeoutError). */
const AWAY_CODES =
  /^(ECONN(REFUSED|RESET|ABORTED)|E(PIPE|TIMEDOUT|HOSTUNREACH|NETUNREACH|NETDOWN|HOSTDOWN|ADDRNOTAVAIL|MFILE)|EAI_AGAIN|ENOTFOUND|UND_ERR_.*)$/;
/** Certificates that are not what they should be. */
const TLS_CODES = /CERT|ERR_TLS|ERR_SSL|UNABLE_TO_(GET|VERIFY|DECRYPT)|SELF_SIGNED|CRL_/;

/**
 * `doing` completes "while …"; `rights` is the mend where Kubernetes knows us and says no, made of what it said. Throws what is
 * no fault of the world.
 */
export function kubernetesFault(error: unknown, doing: string, rights: (said: string) => string): KubernetesFault {
  if (error instanceof OperatingError) return { kind: 'refused', error };
  const refused = (code: OperatingError['code'], cause: unknown, mend: string): KubernetesFault => ({
    kind: 'refused',
    error: new OperatingError(code, 'never', doing, { cause, mend }),
  });
  const reply = replyOf(error);
  if (reply !== undefined) {
    const { status } = reply;
    const said = messageOf(reply.body) ?? `Kubernetes answered ${status}`;
    if (status === 401)
      return refused(
        'auth',
        said,
        'Kubernetes does not know this token or certificate: renew the kubeconfig, or mount a service account token',
      );
    if (status === 403) return refused('auth', said, rights(said));
    if (status === 404) return { kind: 'absent' };
    if (status === 409) return { kind: 'conflict' };
    if (status === 408 || status === 429 || status >= 500) return { kind: 'away' };
    return refused('bad-reply', said, 'check that the address is that of a Kubernetes API server, 1.21 or later');
  }
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    const code = String((cause as { code?: unknown }).code ?? '');
    if (cause.name === 'TimeoutError' || cause.name === 'AbortError' || AWAY_CODES.test(code)) return { kind: 'away' };
    if (TLS_CODES.test(code))
      return refused('auth', cause, 'give the certificate authority of the API server in the kubeconfig, and its name');
  }
  // The client throws errors without a code about how it is to present itself, and passes on those of files.
  const aboutUs = error instanceof Error && (error.constructor === Error || 'syscall' in error);
  if (aboutUs) return refused('auth', error, 'check the kubeconfig, or the files of the service account');
  if (error instanceof TypeError && error.cause instanceof Error)
    return refused('bad-reply', error.cause, 'check that the address is that of a Kubernetes API server');
  throw error;
}

/** The client's ApiException; errors of other kinds have numbers as codes too. */
function replyOf(error: unknown): { readonly status: number; readonly body: unknown } | undefined {
  if (!(error instanceof Error) || !('body' in error) || !('code' in error)) return undefined;
  return typeof error.code === 'number' ? { status: error.code, body: error.body } : undefined;
}

/** The message of a Kubernetes `Status`, parsed or not. */
function messageOf(body: unknown): string | undefined {
  try {
    const value = typeof body === 'string' ? (JSON.parse(body) as unknown) : body;
    const message = (value as { message?: unknown } | null | undefined)?.message;
    return typeof message === 'string' ? message : undefined;
  } catch {
    return undefined;
  }
}
