# What a function needs for the Ringfence layer, to be merged into an aws_lambda_function. docs/attach.md explains each line.

variable "layer_arn" {
  description = "ARN of a version of the layer, of the function's architecture."
  type        = string

  validation {
    condition     = can(regex("^arn:aws[a-z-]*:lambda:[a-z0-9-]+:[0-9]{12}:layer:[A-Za-z0-9_-]+:[0-9]+$", var.layer_arn))
    error_message = "The ARN of a layer's version is needed: it ends with a number."
  }
}

variable "policy" {
  description = "An absolute path outside /tmp, or the name of a pack. Empty: policy.toml beside the handler."
  type        = string
  default     = ""
}

variable "wrapper" {
  description = "Another wrapper that is to run after Ringfence, as /opt/otel-instrument."
  type        = string
  default     = ""
}

output "layers" {
  description = "To be added to the function's layers."
  value       = [var.layer_arn]
}

output "environment" {
  description = "To be merged into the function's environment variables."
  value = merge(
    { AWS_LAMBDA_EXEC_WRAPPER = "/opt/ringfence-exec" },
    var.policy == "" ? {} : { RINGFENCE_POLICY = var.policy },
    var.wrapper == "" ? {} : { RINGFENCE_EXEC_WRAPPER = var.wrapper },
  )
}
