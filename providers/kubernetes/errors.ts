import { OperatingError } from '../../core/operating-error.ts';
import { KubernetesRefusal } from '../../platform/kubernetes/refusal.ts';
import { cleanMessage, ProviderError, type ProviderErrorCode } from '../provider.ts';

/** Nothing was sent: there was no connection yet. */
const UNSENT_CODES =
  /^(ECONNREFUSED|EHOSTUNREACH|ENETUNREACH|ENETDOWN|EHOSTDOWN|EADDRNOTAVAIL|EAI_AGAIN|ENOTFOUND|UND_ERR_CONNECT_TIMEOUT)$/;
/** Certificates that are not what they should be. */
const TLS_CODES = /CERT|ERR_TLS|ERR_SSL|UNABLE_TO_(GET|VERIFY|DECRYPT)|SELF_SIGNED|CRL_/;

/** `resourcequotas "team" … exceeded quota: team, requested: pods=1, used: pods=8, limited: pods=8` */
const OVER_QUOTA = /exceeded quota: ([^,]+)/;
/** RBAC's own words, with who was refused what. */
const NO_RIGHT = /User "([^"]+)" cannot (\S+) resource "([^"]+)"(?: in API group "([^"]*)")?/;
/** An admission webhook that could not be asked: nothing was stored. */
const WEBHOOK_AWAY = /failed calling webhook|failed to call webhook/;
/** What its tokens and quotas are reckoned with was changed by another at that moment. */
const QUOTA_RACE = /on resourcequotas/;
const FIELDS_TOLD = 8;

interface Meaning {
  readonly code: ProviderErrorCode;
  /** The call may have had an effect, if it is one that changes something. */
  readonly doubtful?: boolean;
  readonly mend?: string;
}

/**
 * What a failed call means to Merit. Only an answer of Kubernetes itself is a refusal; whatever else comes of a call that changes something (a cut connection,
 * a time-out, a reply that is none, 5xx) has an unknown effect. `doing` begins the message.
 */
export function providerErrorOf(error: unknown, doing: string, changes: boolean): ProviderError {
  if (error instanceof ProviderError) return error;
  const { code, doubtful = false, mend } = meaningOf(error);
  const said = error instanceof KubernetesRefusal ? refusalText(error) : textOf(error);
  const retryAfterMs = error instanceof KubernetesRefusal ? error.retryAfterMs : undefined;
  // What to do stands first: of a long text the middle is cut.
  const told = cleanMessage(`${mend === undefined ? '' : `${mend}. `}${doing}: ${said}`);
  return new ProviderError(code, told, {
    effect: changes && doubtful ? 'unknown' : 'none',
    cause: error,
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
  });
}

function meaningOf(error: unknown): Meaning {
  if (error instanceof KubernetesRefusal) return ofRefusal(error);
  if (error instanceof OperatingError)
    return {
      code: error.code === 'auth' ? 'auth' : 'transient',
      ...(error.mend === undefined ? {} : { mend: error.mend }),
    };
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    const code = String((cause as { code?: unknown }).code ?? '');
    if (UNSENT_CODES.test(code)) return { code: 'transient' };
    if (TLS_CODES.test(code))
      return { code: 'auth', mend: 'give the certificate authority of the API server in the kubeconfig, and its name' };
  }
  return { code: 'transient', doubtful: true };
}

function ofRefusal(refusal: KubernetesRefusal): Meaning {
  const { status, message, reason } = refusal;
  if (status === 401)
    return {
      code: 'auth',
      mend: 'Kubernetes no longer takes this token or certificate: renew it, it is read anew at each call',
    };
  if (status === 403) return ofForbidden(message);
  if (status === 404) return ofNotFound(message);
  if (status === 409) {
    if (reason === 'AlreadyExists') return { code: 'invalid' };
    if (QUOTA_RACE.test(message) || !/^Apply failed/.test(message)) return { code: 'transient' };
    return { code: 'invalid', mend: 'another field manager sets what Merit sets: let it leave those fields alone' };
  }
  if (status === 410 || status === 429) return { code: 'transient' };
  if (status === 500 && WEBHOOK_AWAY.test(message))
    return { code: 'transient', mend: 'an admission webhook of the cluster does not answer' };
  if (status === 408 || status >= 500) return { code: 'transient', doubtful: true };
  return { code: 'invalid' };
}

/** RBAC, quota and admission all answer 403, and only their words tell them apart. */
function ofForbidden(message: string): Meaning {
  const quota = OVER_QUOTA.exec(message)?.[1];
  if (quota !== undefined)
    return {
      code: 'quota_exceeded',
      mend: `raise the ResourceQuota ${quota}, or wait until others of its namespace have ended`,
    };
  const right = NO_RIGHT.exec(message);
  if (right !== null) {
    const [, user, verb, resource, group] = right;
    const what = group === undefined || group === '' ? resource : `${resource} (${group})`;
    return { code: 'auth', mend: `let ${user} ${verb} ${what}; the page of this provider has the role` };
  }
  if (/violates PodSecurity/.test(message))
    return {
      code: 'invalid',
      mend: 'the namespace allows no such pod: change its level, or the pool’s securityContext',
    };
  if (/must specify/.test(message))
    return {
      code: 'invalid',
      mend: 'a ResourceQuota wants amounts that the job does not say: say them, or give the namespace a LimitRange',
    };
  if (/being terminated/.test(message))
    return { code: 'invalid', mend: 'the namespace is being deleted: name another' };
  return { code: 'invalid' };
}

function ofNotFound(message: string): Meaning {
  const namespace = /^namespaces "([^"]+)" not found/.exec(message)?.[1];
  if (namespace !== undefined)
    return { code: 'invalid', mend: `kubectl create namespace ${namespace}, or name another` };
  if (/could not find the requested resource|^404 page not found/.test(message))
    return { code: 'invalid', mend: 'the cluster does not have this API: install what serves it' };
  return { code: 'not_found' };
}

/** Of an object that is wrong: its fields, each with what is wrong. */
function refusalText({ message, causes }: KubernetesRefusal): string {
  const fields = causes
    .filter(({ field }) => !message.includes(field))
    .slice(0, FIELDS_TOLD)
    .map(({ field, message: problem }) => `${field}: ${problem}`);
  return [message, ...fields].join('; ');
}

function textOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  // undici's own "fetch failed" says nothing: its cause does.
  const cause = error.cause instanceof Error ? `: ${error.cause.message}` : '';
  return `${error.message === '' ? String((error as { code?: unknown }).code ?? error.name) : error.message}${cause}`;
}
