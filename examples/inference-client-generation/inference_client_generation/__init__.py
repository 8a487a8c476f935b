"""Generation: texts and images made from prompts, as the last releases of the original `inference-client` had them."""

from __future__ import annotations

from inference_client import hookimpl


@hookimpl
def inference_client_tasks() -> dict[str, str]:
    return {
        'generate': 'inference_client_generation.tasks:GenerateTask',
        'text_to_image': 'inference_client_generation.tasks:TextToImageTask',
        'image_to_image': 'inference_client_generation.tasks:ImageToImageTask',
    }
