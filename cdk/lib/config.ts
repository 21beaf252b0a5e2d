/**
 * What can be chosen about a deployment: the app's context (`-c name=value`), checked before anything is synthesised.
 *
 * A value that cannot be used ends in a `ConfigError` of one line, which names the value and what would be right.
 */
import { RetentionDays } from 'aws-cdk-lib/aws-logs';

export interface Config {
  /** Part of every name (`webchat-<stage>-…`) and the path of the WebSocket URL. */
  readonly stage: string;
  /** Who may connect: everybody, or whoever signs the URL (SigV4) and may `execute-api:Invoke`. */
  readonly auth: 'none' | 'iam';
  /** Origins of web pages that may connect, beside our own page's; none named and no page: any. */
  readonly allowedOrigins: string[];
  /** Whether the page of `web/` is deployed, too. */
  readonly web: boolean;
  /** How long logs are kept. */
  readonly retentionDays: RetentionDays;
  /** Who is told about alarms; nobody if left out. */
  readonly alarmEmail?: string;
  /** What the functions run on. */
  readonly arch: 'arm64' | 'x86_64';
  /** Stands for `https://<api>.execute-api.<region>.amazonaws.com` of the `@connections` URL, on an emulator. */
  readonly endpoint?: string;
}

/** A context value that cannot be used. */
export class ConfigError extends Error {}

const NAMES = ['stage', 'auth', 'allowedOrigins', 'web', 'retentionDays', 'alarmEmail', 'arch', 'endpoint'];
const RETENTIONS = Object.values(RetentionDays).filter(
  (days): days is number => typeof days === 'number' && days < 9999,
);

/** Reads and checks the context. Names with `:` or `/` in them, and `cli-…`, are the CDK's own. */
export function readConfig(context: Record<string, unknown>): Config {
  const unknown = Object.keys(context).find((name) => /^[A-Za-z0-9_]+$/.test(name) && !NAMES.includes(name));
  if (unknown !== undefined) {
    throw new ConfigError(`there is no context value \`${unknown}\`; there are: ${NAMES.join(', ')}`);
  }
  const text = (name: string) => {
    const value = context[name];
    return value === undefined || value === null ? '' : String(value).trim();
  };
  const auth = oneOf('auth', text('auth') || 'none', ['none', 'iam']);
  const web = oneOf('web', text('web') || 'false', ['true', 'false']) === 'true';
  if (web && auth === 'iam') {
    throw new ConfigError('`web` is `true` and `auth` is `iam`: the page has no credentials to sign with; choose one');
  }
  return {
    stage: stage(text('stage')),
    auth,
    allowedOrigins: text('allowedOrigins')
      .split(',')
      .map((origin) => origin.trim())
      .filter(Boolean)
      .map(origin),
    web,
    retentionDays: retention(text('retentionDays') || '30'),
    alarmEmail: text('alarmEmail') ? email(text('alarmEmail')) : undefined,
    arch: oneOf('arch', text('arch') || 'arm64', ['arm64', 'x86_64']),
    endpoint: text('endpoint') ? endpoint(text('endpoint')) : undefined,
  };
}

function stage(value: string): string {
  if (value === '') {
    throw new ConfigError(
      '`stage` is missing: name the deployment, such as `make deploy STAGE=poc` or `cdk synth -c stage=poc`',
    );
  }
  if (!/^[a-z][a-z0-9-]{0,19}$/.test(value)) {
    throw new ConfigError(`\`stage\` is \`${value}\`: it takes 1 to 20 of a-z, 0-9 and -, and begins with a letter`);
  }
  return value;
}

function oneOf<T extends string>(name: string, value: string, allowed: readonly T[]): T {
  const found = allowed.find((candidate) => candidate === value);
  if (found === undefined) {
    throw new ConfigError(`\`${name}\` is \`${value}\`: it is one of ${allowed.join(', ')}`);
  }
  return found;
}

function origin(value: string): string {
  // Compared with the browser's `Origin` letter by letter: no path, no slash at the end.
  if (!URL.canParse(value) || new URL(value).origin !== value) {
    throw new ConfigError(
      `\`allowedOrigins\` has \`${value}\`: an origin looks like https://chat.example.com, without a path`,
    );
  }
  return value;
}

function retention(value: string): RetentionDays {
  const days = RETENTIONS.find((candidate) => String(candidate) === value);
  if (days === undefined) {
    throw new ConfigError(
      `\`retentionDays\` is \`${value}\`: CloudWatch keeps logs for one of ${RETENTIONS.join(', ')} days`,
    );
  }
  return days;
}

function email(value: string): string {
  if (!/^[^\s@]+@[^\s@]+\.[^\s@]+$/.test(value)) {
    throw new ConfigError(`\`alarmEmail\` is \`${value}\`: that is no e-mail address`);
  }
  return value;
}

function endpoint(value: string): string {
  if (!URL.canParse(value) || !/^https?:$/.test(new URL(value).protocol) || value.endsWith('/')) {
    throw new ConfigError(`\`endpoint\` is \`${value}\`: it is an http or https URL without a slash at its end`);
  }
  return value;
}
