/* Runs one scan job with code that gSOAP made from the service's WSDL.
 *
 * Usage: job CA IDENTITY ADDRESS USER PROCESS INSTRUCTIONS PAGE...
 * CA and IDENTITY (certificate and key) are PEM files, INSTRUCTIONS and every PAGE are files.
 * Prints the token and the job's last state; a fault goes to standard error and ends with 1.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "soapH.h"
#include "DistributedScanProcessingServiceBinding.nsmap"

#define DSP SOAP_NAMESPACE_OF_dsp
#define POLLS 400

static const char *address;

static void stop(struct soap *soap, const char *what) {
    fprintf(stderr, "%s: ", what);
    soap_print_fault(soap, stderr);
    exit(1);
}

/* gSOAP fills in none of the addressing headers itself: they are set before every call. */
static void announce(struct soap *soap, const char *action) {
    soap->header = soap_new_SOAP_ENV__Header(soap, 1);
    soap->header->wsa__To = (char *)address;
    soap->header->wsa__Action = (char *)action;
    soap->header->wsa__MessageID = soap_strdup(soap, soap_rand_uuid(soap, "urn:uuid:"));
}

static struct dsp__Identifier *identifier(struct soap *soap, const char *text) {
    struct dsp__Identifier *it = soap_new_dsp__Identifier(soap, 1);
    it->__item = (char *)text;
    return it;
}

static char *content_of(struct soap *soap, const char *path, long *size) {
    FILE *file = fopen(path, "rb");
    char *data;
    if (!file || fseek(file, 0, SEEK_END)) {
        perror(path);
        exit(2);
    }
    *size = ftell(file);
    rewind(file);
    data = soap_malloc(soap, (size_t)*size + 1);
    if (fread(data, 1, (size_t)*size, file) != (size_t)*size) {
        perror(path);
        exit(2);
    }
    data[*size] = '\0';
    fclose(file);
    return data;
}

static char *create(struct soap *soap, const char *user, const char *process, const char *instructions) {
    struct _dsp__CreatePostScanJobRequest request;
    struct _dsp__CreatePostScanJobResponse answer;
    long size;
    soap_default__dsp__CreatePostScanJobRequest(soap, &request);
    request.UserIdentifier = identifier(soap, user);
    request.PSP_USCOREIdentifier = identifier(soap, process);
    request.PostScanInstructions = soap_new_psp__Instructions(soap, 1);
    soap->is = content_of(soap, instructions, &size);
    if (soap_read_psp__Instructions(soap, request.PostScanInstructions)) stop(soap, instructions);
    soap->is = NULL;
    announce(soap, DSP "/CreatePostScanJob");
    if (soap_call___dsp__CreatePostScanJob(soap, address, NULL, &request, &answer)) stop(soap, "Create");
    return answer.JobToken->__item;
}

static void send_image(struct soap *soap, const char *token, int number, const char *path) {
    struct _dsp__SendImageRequest request;
    struct dsp__Acknowledgement answer;
    long size;
    soap_default__dsp__SendImageRequest(soap, &request);
    request.JobToken = identifier(soap, token);
    request.DocumentDescription = soap_new_dsp__DocumentDescription(soap, 1);
    request.DocumentDescription->DocumentId = soap_new_dsp__DocumentId(soap, 1);
    request.DocumentDescription->DocumentId->__item = number;
    request.DocumentDescription->Format = soap_new_dsp__Format(soap, 1);
    request.DocumentDescription->Format->__item = dsp__format__jfif;
    request.ImageData.__ptr = (unsigned char *)content_of(soap, path, &size);
    request.ImageData.__size = (int)size;
    request.ImageData.type = "image/jpeg";
    announce(soap, DSP "/SendImage");
    if (soap_call___dsp__SendImage(soap, address, NULL, &request, &answer)) stop(soap, "SendImage");
}

static const char *state_of(struct soap *soap, const char *token) {
    struct _dsp__GetPostScanJobElementsRequest request;
    struct _dsp__GetPostScanJobElementsResponse answer;
    char *names[] = {"dsp:JobStatus"};
    soap_default__dsp__GetPostScanJobElementsRequest(soap, &request);
    request.JobToken = identifier(soap, token);
    request.RequestedElements.__sizeName = 1;
    request.RequestedElements.Name = names;
    announce(soap, DSP "/GetPostScanJobElements");
    if (soap_call___dsp__GetPostScanJobElements(soap, address, NULL, &request, &answer)) stop(soap, "Get");
    if (answer.JobElements.__sizeElementData != 1 || !answer.JobElements.ElementData->JobStatus) return "?";
    return answer.JobElements.ElementData->JobStatus->JobState->__item;
}

static void end(struct soap *soap, const char *token) {
    struct dsp__JobReference request;
    struct dsp__Acknowledgement answer;
    request.JobToken = identifier(soap, token);
    announce(soap, DSP "/EndPostScanJob");
    if (soap_call___dsp__EndPostScanJob(soap, address, NULL, &request, &answer)) stop(soap, "End");
}

int main(int count, char **words) {
    struct soap *soap = soap_new1(SOAP_ENC_MTOM | SOAP_IO_KEEPALIVE | SOAP_IO_CHUNK | SOAP_XML_INDENT);
    const char *token, *state = "?";
    int number, poll;
    if (count < 8) {
        fprintf(stderr, "usage: %s CA IDENTITY ADDRESS USER PROCESS INSTRUCTIONS PAGE...\n", words[0]);
        return 2;
    }
    soap_ssl_init();
    if (soap_ssl_client_context(soap, SOAP_SSL_DEFAULT, words[2], NULL, words[1], NULL, NULL)) stop(soap, "TLS");
    address = words[3];
    soap->connect_timeout = soap->send_timeout = soap->recv_timeout = 20;
    token = create(soap, words[4], words[5], words[6]);
    for (number = 1; 6 + number < count; number++) send_image(soap, token, number, words[6 + number]);
    end(soap, token);
    for (poll = 0; poll < POLLS; poll++) {
        state = state_of(soap, token);
        if (!strcmp(state, "Completed") || !strcmp(state, "Aborted") || !strcmp(state, "Canceled")) break;
        usleep(50000);
    }
    printf("%s %s\n", token, state);
    fflush(stdout);
    end(soap, "no-such-token"); /* ends with the fault */
    return 0;
}
