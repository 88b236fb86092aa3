export { ApiError, ValidationError, createFalClient } from "@fal-ai/client";
