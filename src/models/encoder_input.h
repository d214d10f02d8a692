/* models/encoder_input.h - how a picture enters an encoder whose file does not say it: by a name or in numbers.
 *
 *   arcface             RGB, 2 x - 1 of a picture x in 0..1 (also what is assumed when nothing is said)
 *   sface               RGB, 0..255
 *   imagenet            RGB, ImageNet's mean and deviation: DINOv2, ResNet, ViT
 *   clip                RGB, CLIP's mean and deviation
 *   MEAN/STD[/RGB|BGR]  one or three numbers each, with commas: 0.5/0.5/BGR; the network sees (x - MEAN) / STD */
#ifndef LK_MODELS_ENCODER_INPUT_H
#define LK_MODELS_ENCODER_INPUT_H

#include "models/onnx_graph.h"

/* Overwrites mean, deviation and order of channels; LIKENESS_USAGE for a text that is none of the above. */
likeness_status lk_encoder_input(lk_onnx_preprocessing *preprocessing, const char *text, lk_error *error);

#endif
