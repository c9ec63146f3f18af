import newrelic.agent
from newrelic.api.lambda_handler import lambda_handler

newrelic.agent.initialize()


@lambda_handler()
def handler(event, context):
    return {"transaction": newrelic.agent.current_transaction() is not None}
