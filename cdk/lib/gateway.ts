/**
 * The WebSocket API: its routes, its stage, who may connect.
 *
 * Made in two steps, because the functions must be told its address and the routes must be told the functions.
 */
import { RemovalPolicy, Stack, Validations } from 'aws-cdk-lib';
import { AccessLogFormat } from 'aws-cdk-lib/aws-apigateway';
import {
  type IWebSocketRouteAuthorizer,
  LogGroupLogDestination,
  WebSocketApi,
  WebSocketNoneAuthorizer,
  WebSocketStage,
} from 'aws-cdk-lib/aws-apigatewayv2';
import { WebSocketIamAuthorizer } from 'aws-cdk-lib/aws-apigatewayv2-authorizers';
import { WebSocketLambdaIntegration } from 'aws-cdk-lib/aws-apigatewayv2-integrations';
import type { Function } from 'aws-cdk-lib/aws-lambda';
import { LogGroup } from 'aws-cdk-lib/aws-logs';
import { Construct } from 'constructs';
import type { Config } from './config.ts';
import type { FunctionName } from './permissions.ts';

/** Routes, and the functions behind them. `local/src/runtime.rs` has the same. */
export const ROUTES: [route: string, name: FunctionName][] = [
  ['$connect', 'connect'],
  ['$disconnect', 'disconnect'],
  ['broadcast', 'broadcast'],
  ['list', 'list'],
  ['chat', 'chat'],
  ['$default', 'fallback'],
];
/** Routes of the connection itself: nobody reads what they answer but the gateway. */
const SILENT = ['$connect', '$disconnect'];

/**
 * Frames a second that the stage takes from all clients together. An account has 10,000 requests a second for all its APIs,
 * and every frame that is broadcast needs one more for each listener.
 */
const THROTTLE = { rateLimit: 1000, burstLimit: 2000 };

/** One line per request. No frames, no query strings: those hold what people say, and signatures. */
const ACCESS_LOG = {
  time: '$context.requestTime',
  requestId: '$context.requestId',
  route: '$context.routeKey',
  event: '$context.eventType',
  connection: '$context.connectionId',
  sourceIp: '$context.identity.sourceIp',
  status: '$context.status',
  integrationStatus: '$context.integrationStatus',
  latencyMs: '$context.integrationLatency',
  error: '$context.error.message',
};

export class Gateway extends Construct {
  readonly api: WebSocketApi;
  /** The `@connections` endpoint with its stage: `WEBCHAT_GATEWAY_URL`. */
  readonly callbackUrl: string;
  /** The API's name in the DNS. */
  readonly host: string;
  /** Where clients connect. */
  readonly url: string;

  constructor(
    scope: Construct,
    private readonly config: Config,
  ) {
    super(scope, 'Gateway');
    const { region, urlSuffix } = Stack.of(this);
    this.api = new WebSocketApi(this, 'Api', {
      apiName: `webchat-${config.stage}`,
      routeSelectionExpression: '$request.body.action',
    });
    this.host = `${this.api.apiId}.execute-api.${region}.${urlSuffix}`;
    const callbackBase = config.endpoint ? `${config.endpoint}/${this.api.apiId}` : `https://${this.host}`;
    this.callbackUrl = `${callbackBase}/${config.stage}`;
    this.url = `wss://${this.host}/${config.stage}`;
  }

  addRoutes(functions: Record<FunctionName, Function>): void {
    for (const [key, name] of ROUTES) {
      const route = this.api.addRoute(key, {
        integration: new WebSocketLambdaIntegration(name, functions[name]),
        authorizer: key === '$connect' ? this.authorizer() : undefined,
        returnResponse: !SILENT.includes(key),
      });
      if (key !== '$connect' || this.config.auth === 'none') {
        Validations.of(route).acknowledge({
          id: 'AwsSolutions-APIG4',
          reason:
            key === '$connect'
              ? 'auth=none: whoever knows the URL may chat. auth=iam asks for a signature.'
              : 'API Gateway authorizes a WebSocket once, on $connect.',
        });
      }
    }
    this.addStage();
  }

  private authorizer(): IWebSocketRouteAuthorizer {
    return this.config.auth === 'iam' ? new WebSocketIamAuthorizer() : new WebSocketNoneAuthorizer();
  }

  private addStage(): void {
    const accessLogs = new LogGroup(this, 'AccessLogs', {
      logGroupName: `/aws/apigateway/webchat-${this.config.stage}`,
      retention: this.config.retentionDays,
      removalPolicy: RemovalPolicy.DESTROY,
    });
    new WebSocketStage(this, 'Stage', {
      webSocketApi: this.api,
      stageName: this.config.stage,
      autoDeploy: true,
      throttle: THROTTLE,
      accessLogSettings: {
        destination: new LogGroupLogDestination(accessLogs),
        format: AccessLogFormat.custom(JSON.stringify(ACCESS_LOG)),
      },
    });
  }
}
