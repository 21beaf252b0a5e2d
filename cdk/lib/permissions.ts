/**
 * What each function may do: the calls its code makes, and nothing else. `docs/PERMISSIONS.md` says why; a test compares
 * that table with the policies that are synthesised.
 *
 * A new AWS call in a handler needs its line here and there, or it ends in AccessDenied.
 */
import type { Stack } from 'aws-cdk-lib';
import { PolicyStatement } from 'aws-cdk-lib/aws-iam';

export type FunctionName =
  | 'connect'
  | 'disconnect'
  | 'broadcast'
  | 'list'
  | 'chat'
  | 'fallback'
  | 'projector'
  | 'post'
  | 'manage';

/** ARNs by the names that permissions use. */
export interface Resources {
  readonly events: string;
  readonly eventsStream: string;
  /** All streams the table ever had: what `ListStreams` is asked about. */
  readonly eventsStreams: string;
  readonly connections: string;
  readonly connectionsLive: string;
  readonly parked: string;
  readonly bus: string;
  /** `POST @connections`: push. */
  readonly push: string;
  /** `GET @connections`: look whether a connection is there. */
  readonly look: string;
  readonly failedRecords: string;
  readonly failedInvocations: string;
}

type Permission = [resource: keyof Resources, ...actions: string[]];

/** An append that got no answer looks the event up, hence `GetItem` (`EventLog::append`). */
const append: Permission = ['events', 'dynamodb:PutItem', 'dynamodb:GetItem'];
const readStream: Permission = ['events', 'dynamodb:Query'];
const readLive: Permission = ['connectionsLive', 'dynamodb:Query'];
const writeView: Permission = ['connections', 'dynamodb:UpdateItem'];
const publish: Permission = ['bus', 'events:PutEvents'];

export const PERMISSIONS: Record<FunctionName, Permission[]> = {
  connect: [append],
  disconnect: [append],
  broadcast: [append],
  list: [readLive],
  chat: [append, readStream],
  fallback: [],
  projector: [
    writeView,
    ['parked', 'dynamodb:PutItem'],
    publish,
    // Of the event source mapping, which acts in the function's role.
    ['eventsStream', 'dynamodb:DescribeStream', 'dynamodb:GetRecords', 'dynamodb:GetShardIterator'],
    ['eventsStreams', 'dynamodb:ListStreams'],
    ['failedRecords', 'sqs:SendMessage'],
  ],
  post: [
    append,
    readStream,
    readLive,
    publish,
    ['push', 'execute-api:ManageConnections'],
    ['failedInvocations', 'sqs:SendMessage'],
  ],
  manage: [
    append,
    readStream,
    readLive,
    writeView,
    ['look', 'execute-api:ManageConnections'],
    ['failedInvocations', 'sqs:SendMessage'],
  ],
};

/** The statements of one function. X-Ray's are added with tracing. */
export function statements(name: FunctionName, resources: Resources, logGroupArn: string): PolicyStatement[] {
  const own = PERMISSIONS[name].map(
    ([resource, ...actions]) => new PolicyStatement({ actions, resources: [resources[resource]] }),
  );
  const logs = new PolicyStatement({
    actions: ['logs:CreateLogStream', 'logs:PutLogEvents'],
    resources: [logGroupArn],
  });
  return [...own, logs];
}

/** The ARN of calls of one HTTP method to `@connections` of a stage. */
export function connectionsArn(stack: Stack, apiId: string, stage: string, method: 'GET' | 'POST'): string {
  return stack.formatArn({
    service: 'execute-api',
    resource: apiId,
    resourceName: `${stage}/${method}/@connections/*`,
  });
}
